RuleSet: Finding
* insert AiLabel
* insert OneIdentifier(result)
* obeys signed-observation
* text 1..1
* status MS
* category 2..2
* category ^slicing.discriminator.type = #value
* category ^slicing.discriminator.path = "$this"
* category ^slicing.rules = #closed
* category contains exam 1..1 and imaging 1..1
* category[exam] = $category#exam "Exam"
* category[imaging] = $category#imaging "Imaging"
* subject 1..1
* subject only Reference(Patient)
* issued 1..1
* performer 1..
* bodySite 1..1
* bodySite from Eye (required)
