Profile: AcceptedImagingStudy
Parent: ImagingStudy
Id: accepted-imaging-study
Title: "Imaging study that is accepted"
Description: "The study that photographs belong to. When it comes without them, they are fetched from the archive that its dicom-wado-rs Endpoint names, or from the site's own; then it needs its Study Instance UID as an identifier (urn:dicom:uid). Photographs of one that is cancelled or entered in error are refused, and a study that was fetched is withdrawn with it."
* insert NothingUnread
