Extension: LesionBoundingBox
Id: lesion-bounding-box
Title: "Lesion bounding box"
Description: "Where in a photograph the analyser marked a lesion, in pixels of the raster as stored in the file that was sent, before any EXIF turn: x to the right, y downwards, origin in the top-left corner of the top-left pixel."
* ^context[+].type = #element
* ^context[=].expression = "Observation.component"
* obeys box-order and box-inside and box-digest
* extension contains
    xMin 1..1 and
    yMin 1..1 and
    xMax 1..1 and
    yMax 1..1 and
    columns 1..1 and
    rows 1..1 and
    frame 1..1 and
    transform 1..1 and
    imageSha256 1..1 and
    sopInstance 0..1 and
    frameNumber 0..1 and
    image 1..1 and
    source 1..1
* extension[xMin] ^short = "left edge"
* extension[xMin].value[x] 1..1
* extension[xMin].value[x] only decimal
* extension[yMin] ^short = "upper edge"
* extension[yMin].value[x] 1..1
* extension[yMin].value[x] only decimal
* extension[xMax] ^short = "right edge"
* extension[xMax].value[x] 1..1
* extension[xMax].value[x] only decimal
* extension[yMax] ^short = "lower edge"
* extension[yMax].value[x] 1..1
* extension[yMax].value[x] only decimal
* extension[columns] ^short = "width of the frame"
* extension[columns].value[x] 1..1
* extension[columns].value[x] only positiveInt
* extension[rows] ^short = "height of the frame"
* extension[rows].value[x] 1..1
* extension[rows].value[x] only positiveInt
* extension[frame] ^short = "which raster the numbers refer to"
* extension[frame].value[x] 1..1
* extension[frame].value[x] only code
* extension[frame].valueCode = #source-image
* extension[transform] ^short = "the picture that the analyser got, what was done to make it, and the map back"
* extension[transform].value[x] 1..1
* extension[transform].value[x] only string
* extension[image] ^short = "the photograph"
* extension[image].value[x] 1..1
* extension[image].value[x] only Reference(Media)
* extension[imageSha256] ^short = "binds the numbers to the bytes"
* extension[imageSha256].value[x] 1..1
* extension[imageSha256].value[x] only string
* extension[source] ^short = "the analyser's own words for the box"
* extension[source].value[x] 1..1
* extension[source].value[x] only string
* extension[sopInstance] ^short = "the DICOM instance that was sent, or fetched from an archive"
* extension[sopInstance].value[x] 1..1
* extension[sopInstance].value[x] only oid
* extension[frameNumber] ^short = "which frame of that instance, from 1"
* extension[frameNumber].value[x] 1..1
* extension[frameNumber].value[x] only positiveInt
