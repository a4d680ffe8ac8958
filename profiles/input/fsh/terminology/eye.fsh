ValueSet: Eye
Id: eye
Title: "The eye, or that nobody stated which"
Description: "The eye, or that nobody stated which."
* ^experimental = false
* $sct#362502000 "Entire right eye"
* $sct#362503005 "Entire left eye"
* $sct#81745001 "Eye"
