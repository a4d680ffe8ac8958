Profile: AcceptedMedia
Parent: Media
Id: accepted-media
Title: "Photograph that is accepted"
Description: "A finished colour fundus photograph of one patient. An eye that no code names stays unknown. Words of bodySite that contradict its codes are refused."
* insert SenderMedia
* status = #completed
* content obeys picture-once and picture-type
* content.contentType 1..1
