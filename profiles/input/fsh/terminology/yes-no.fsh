ValueSet: YesNo
Id: yes-no
Title: "Yes or no"
Description: "Yes or no."
* ^experimental = false
* $sct#373066001 "Yes"
* $sct#373067005 "No"
