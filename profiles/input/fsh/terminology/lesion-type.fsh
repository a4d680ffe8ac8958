ValueSet: LesionType
Id: lesion-type
Title: "Types of lesion"
Description: "Types of lesion."
* ^experimental = false
* $local#deep-hemorrhage "Deep Hemorrhage"
* $local#hemorrhage "Hemorrhage"
* $local#superficial-hemorrhage "Superficial Hemorrhage"
* $local#hard-exudate "Hard Exudate"
* $local#soft-exudate "Soft Exudate"
* $local#microaneurysm "Microaneurysm"
* $local#neovascularization "Neovascularization"
* $local#vitreous-hemorrhage "Vitreous Hemorrhage"
* $local#preretinal-hemorrhage "Preretinal Hemorrhage"
* $local#drusen "Drusen"
* $local#other "Other lesion"
