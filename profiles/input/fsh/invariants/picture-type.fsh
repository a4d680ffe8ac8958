Invariant: picture-type
Description: "The photograph is JPEG or PNG."
Severity: #error
Expression: "contentType.lower().startsWith('image/jpeg') or contentType.lower().startsWith('image/png') or contentType.lower().startsWith('image/jpg') or contentType.lower().startsWith('image/pjpeg')"
