// What a client may say of a photograph, whether it stands or is taken back.
RuleSet: SenderMedia
* insert NothingUnread
* obeys one-eye and not-drawn
* subject 1..1
* subject only Reference(Patient)
* subject obeys patient-named
