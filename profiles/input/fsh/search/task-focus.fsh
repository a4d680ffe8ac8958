Instance: task-focus
InstanceOf: SearchParameter
Usage: #definition
Title: "Task by any of its photographs"
Description: "Finds a Task by what it focuses on, as R4's parameter of this name does, and by every other photograph or study of its submission: R4 lets a Task focus on one thing, and who sent several at once looks for each of them. Of the endpoint of this service alone."
* url = "https://fundus-relay.dev/fhir/SearchParameter/task-focus"
* version = "0.1.0"
* name = "TaskFocus"
* status = #draft // a server on which the guide is installed goes on with R4's: this is about our endpoint alone
* code = #focus
* base = #Task
* type = #reference
* expression = "Task.focus | Task.input.value.ofType(Reference)"
* xpath = "f:Task/f:focus | f:Task/f:input/f:valueReference"
* xpathUsage = #normal
* target[+] = #Media
* target[+] = #ImagingStudy
