ValueSet: JudgementFlag
Id: judgement-flag
Title: "Flag of a judgement"
Description: "Flag of a judgement."
* ^experimental = false
* $v3-interpretation#A "Abnormal"
* $v3-interpretation#ND "Not detected"
