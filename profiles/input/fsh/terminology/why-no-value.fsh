ValueSet: WhyNoValue
Id: why-no-value
Title: "Why there is no value"
Description: "Why there is no value."
* ^experimental = false
* $local#image-ungradable "The image cannot be graded"
* $local#not-a-fundus-image "The image is not a fundus photograph"
* $local#answer-not-understood "The analyser's answer was not understood"
