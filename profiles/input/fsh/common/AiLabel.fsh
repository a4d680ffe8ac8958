RuleSet: AiLabel
* obeys ai-label
* meta 1..1
* meta.security 1..
