Profile: OverlayMedia
Parent: Media
Id: overlay-media
Title: "Photograph with its boxes drawn"
Description: "A picture for people: an analysed photograph, upright, with the boxes of its lesions, a legend and a banner. `partOf` leads to the photograph. Nothing is measured on it, and it is no photograph to be analysed."
* insert AiLabel
* insert OneIdentifier(overlay)
* obeys stands-or-withdrawn and shown-or-withdrawn
* text 1..1
* partOf 1..
* partOf only Reference(Media or ImagingStudy)
* subject 1..1
* subject only Reference(Patient)
* issued 1..1
* bodySite 1..1
* bodySite from Eye (required)
* width 1..1
* height 1..1
* content.contentType 1..1
* content.contentType = #image/jpeg
