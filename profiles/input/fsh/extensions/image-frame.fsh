Extension: ImageFrame
Id: image-frame
Title: "Frame of an image"
Description: "The raster that is spoken of, as stored in the file that was sent, before any EXIF turn; and the picture that the analyser was given of it. Every analysed image has one, with lesions or without."
* ^context[+].type = #element
* ^context[=].expression = "Observation"
* obeys box-digest
* extension contains
    columns 1..1 and
    rows 1..1 and
    frame 1..1 and
    transform 1..1 and
    imageSha256 1..1 and
    sopInstance 0..1 and
    frameNumber 0..1
* extension[columns] ^short = "width of the frame"
* extension[columns].value[x] 1..1
* extension[columns].value[x] only positiveInt
* extension[rows] ^short = "height of the frame"
* extension[rows].value[x] 1..1
* extension[rows].value[x] only positiveInt
* extension[frame] ^short = "which raster this is"
* extension[frame].value[x] 1..1
* extension[frame].value[x] only code
* extension[frame].valueCode = #source-image
* extension[transform] ^short = "the picture that the analyser got, what was done to make it, and the map back"
* extension[transform].value[x] 1..1
* extension[transform].value[x] only string
* extension[imageSha256] ^short = "digest of the file that was sent"
* extension[imageSha256].value[x] 1..1
* extension[imageSha256].value[x] only string
* extension[sopInstance] ^short = "the DICOM instance that was sent, or fetched from an archive"
* extension[sopInstance].value[x] 1..1
* extension[sopInstance].value[x] only oid
* extension[frameNumber] ^short = "which frame of that instance, from 1"
* extension[frameNumber].value[x] 1..1
* extension[frameNumber].value[x] only positiveInt
