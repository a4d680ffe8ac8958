CodeSystem: Handling
Id: handling
Title: "How something is to be handled"
Description: "What a sender may say in meta.tag of a Media or ImagingStudy, and what the relay says there of an order. A code for urgent is not among them: that is said by the priority of the order."
* ^caseSensitive = true
* ^experimental = false
* ^content = #complete
* #backfill "backfill" "A photograph of the past that is analysed belatedly: nobody waits for its report, so that all else goes first and takes the credits first."
* #priority-not-permitted "priority not permitted" "The priority of this order makes nothing urgent, since whoever wrote it may not be urgent. The relay sets it; what a sender says of it is taken away."
