CodeSystem: Handling
Id: handling
Title: "How something is to be handled"
Description: "What a sender may say in meta.tag of a Media or ImagingStudy. A code for urgent is not among them: that is said by the priority of the order."
* ^caseSensitive = true
* ^experimental = false
* ^content = #complete
* #backfill "backfill" "A photograph of the past that is analysed belatedly: nobody waits for its report, so that all else goes first and takes the credits first."
