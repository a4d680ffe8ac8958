Profile: DeliveryBundle
Parent: Bundle
Id: delivery-bundle
Title: "Delivery"
Description: "A report revision as one transaction for an EHR."
* obeys one-report and posts-and-puts and conditional-create and ungradable-says-nothing
* type = #transaction
* entry 1..
* entry.fullUrl 1..1
* entry.resource 1..1
* entry.request 1..1
