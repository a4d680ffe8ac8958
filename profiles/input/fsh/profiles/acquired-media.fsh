Profile: AcquiredMedia
Parent: Media
Id: acquired-media
Title: "Photograph that was fetched"
Description: "One frame of a DICOM instance that was fetched from an archive for an ImagingStudy, as this endpoint shows it. The EHR gets it as a published photograph."
* obeys one-eye
* obeys stands-or-withdrawn
* identifier 1..1
* identifier.system = "urn:dicom:uid"
* partOf 1..1
* partOf only Reference(ImagingStudy)
* subject 1..1
* subject only Reference(Patient)
* width 1..1
* height 1..1
* content.contentType 1..1
* content.url 1..1
* content.data 0..0
