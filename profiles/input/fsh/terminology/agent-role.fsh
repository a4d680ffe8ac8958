ValueSet: AgentRole
Id: agent-role
Title: "Who took part in a report"
Description: "What the analyser and the relay did: one said what is in the report, the other put it together."
* ^experimental = false
* $participant#author "Author"
* $participant#assembler "Assembler"
