ValueSet: RetinopathyPresence
Id: retinopathy-presence
Title: "Retinopathy detected or not detected"
Description: "Retinopathy detected or not detected."
* ^experimental = false
* $sct#260373001 "Detected"
* $sct#260415000 "Not detected"
* $local#dr-detected "Diabetic retinopathy detected"
* $local#dr-not-detected "Diabetic retinopathy not detected"
