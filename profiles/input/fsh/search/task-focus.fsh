Instance: task-focus
InstanceOf: SearchParameter
Usage: #definition
Title: "Task by any of its photographs"
Description: "Finds a Task by what it focuses on, as R4's parameter of this name does, and by every other photograph or study of its submission: R4 lets a Task focus on one thing, and who sent several at once looks for each of them."
* url = "https://fundus-relay.dev/fhir/SearchParameter/task-focus"
* version = "0.1.0"
* name = "TaskFocus"
* derivedFrom = "http://hl7.org/fhir/SearchParameter/Task-focus"
* status = #active
* code = #focus
* base = #Task
* type = #reference
* expression = "Task.focus | (Task.input.value as Reference)"
* xpath = "f:Task/f:focus | f:Task/f:input/f:valueReference"
* xpathUsage = #normal
* target[+] = #Media
* target[+] = #ImagingStudy
