Profile: WithdrawnMedia
Parent: Media
Id: withdrawn-media
Title: "Photograph that is taken back"
Description: "A photograph that was sent by mistake. It is PUT again with this status, with or without its pixels: what was reported of it is withdrawn."
* insert SenderMedia
* status = #entered-in-error
