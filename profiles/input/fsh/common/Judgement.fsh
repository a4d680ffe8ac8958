RuleSet: Judgement
* insert ImageFinding
* obeys value-or-reason and no-value-when-ungradable
* value[x] only CodeableConcept
* insert OwnCoding(dataAbsentReason, WhyNoValue)
* interpretation 0..1
* interpretation from JudgementFlag (required)
* component 0..0
