Invariant: picture-type
Description: "The photograph is JPEG or PNG."
Severity: #error
Expression: "contentType.lower().matches('^image/(jpeg|jpg|pjpeg|png) *(;.*)?$')"
