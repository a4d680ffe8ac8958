ValueSet: Gradability
Id: gradability
Title: "Gradable or ungradable"
Description: "Gradable or ungradable."
* ^experimental = false
* $local#gradable "Gradable"
* $local#ungradable "Ungradable"
