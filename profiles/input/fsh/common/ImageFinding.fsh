RuleSet: ImageFinding
* insert Finding
* method 1..1
* method = $sct#8359006 "Automated"
* device 1..1
* device only Reference(AnalysisDevice)
* derivedFrom 1..1
* derivedFrom only Reference(Media)
