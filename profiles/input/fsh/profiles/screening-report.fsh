Profile: ScreeningReport
Parent: DiagnosticReport
Id: screening-report
Title: "AI screening report"
Description: "One report of a study, AI-generated and unreviewed until a person signs it."
* insert AiLabel
* insert OneIdentifier(report)
* obeys signed-report
* text 1..1
* category 2..2
* category ^slicing.discriminator.type = #value
* category ^slicing.discriminator.path = "$this"
* category ^slicing.rules = #closed
* category contains ophthalmology 1..1 and imaging 1..1
* category[ophthalmology] = $sct#394594003 "Ophthalmology"
* category[imaging] = $v2-0074#IMG "Diagnostic Imaging"
* code = $loinc#103592-2 "Retinal eye screening report"
* subject 1..1
* subject only Reference(Patient)
* issued 1..1
* performer 1..
* media.link only Reference(Media)
* presentedForm.contentType 1..1
* presentedForm.title 1..1
* conclusion 1..1
* conclusionCode 0..0
