RuleSet: AiLabel
* meta 1..1
* meta.security ^slicing.discriminator.type = #value
* meta.security ^slicing.discriminator.path = "$this"
* meta.security ^slicing.rules = #open
* meta.security contains ai 1..1
* meta.security[ai] = $v3-value#AIAST
