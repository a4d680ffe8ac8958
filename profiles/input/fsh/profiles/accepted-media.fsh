Profile: AcceptedMedia
Parent: Media
Id: accepted-media
Title: "Photograph that is accepted"
Description: "A finished colour fundus photograph of one patient. An eye that no code names, nor the header of a DICOM file, stays unknown. A code, or words, that contradict such a header are refused, and so is a header of another patient, and a file of several pictures. Words of bodySite that contradict its codes are refused."
* insert SenderMedia
* status = #completed
* content obeys picture-once and picture-type
* content.contentType 1..1
