Invariant: picture-type
Description: "The photograph is JPEG, PNG, TIFF or DICOM."
Severity: #error
Expression: "contentType.lower().matches('^(image/(jpeg|jpg|pjpeg|png|tiff|tif)|application/dicom) *(;.*)?$')"
