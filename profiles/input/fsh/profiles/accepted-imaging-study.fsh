Profile: AcceptedImagingStudy
Parent: ImagingStudy
Id: accepted-imaging-study
Title: "Imaging study that is accepted"
Description: "The study that photographs belong to. Photographs of one that is cancelled or entered in error are refused."
* insert NothingUnread
