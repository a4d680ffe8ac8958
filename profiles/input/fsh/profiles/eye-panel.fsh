Profile: EyePanel
Parent: Observation
Id: eye-panel
Title: "Findings of one eye"
Description: "Groups the findings of one eye; has no value of its own."
* insert Finding
* code = $local#eye-panel
* value[x] 0..0
* dataAbsentReason 0..0
* component 0..0
* hasMember 1..
* hasMember only Reference(Observation)
