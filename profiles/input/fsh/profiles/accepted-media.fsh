Profile: AcceptedMedia
Parent: Media
Id: accepted-media
Title: "Photograph that is accepted"
Description: "A finished colour fundus photograph of one patient. An eye that no code names stays unknown."
* obeys one-eye
* status = #completed
* subject 1..1
* subject only Reference(Patient)
* subject obeys patient-named
* content obeys picture-once and picture-type
* content.contentType 1..1
* modifierExtension 0..0
