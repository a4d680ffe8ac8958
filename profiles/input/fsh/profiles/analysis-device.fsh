Profile: AnalysisDevice
Parent: Device
Id: analysis-device
Title: "Analyser or relay"
Description: "Who speaks: the analyser or its stand-in, and the relay that put the report together. Never changes: another version is another Device."
* insert OneIdentifier(device)
* status 1..1
* status = #active
* manufacturer 1..1
* deviceName 1..1
* type = $ai-device#Artificial-Intelligence "Artificial Intelligence"
* version 1..1
* note 1..1
