Profile: PublishedMedia
Parent: Media
Id: published-media
Title: "Photograph as published"
Description: "The photograph as the EHR may keep it: no pixels, but where they can be fetched."
* insert OneIdentifier(image)
* obeys stands-or-withdrawn
* subject 1..1
* subject only Reference(Patient)
* content.url 1..1
* content.data 0..0
