ValueSet: TaskCode
Id: task-code
Title: "States and reasons of a Task"
Description: "States and reasons of a Task."
* ^experimental = false
* include codes from system $task
