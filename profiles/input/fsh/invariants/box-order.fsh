Invariant: box-order
Description: "The box has an extent: xMin < xMax and yMin < yMax."
Severity: #error
Expression: "(extension.where(url = 'xMin').value.first() < extension.where(url = 'xMax').value.first()) and (extension.where(url = 'yMin').value.first() < extension.where(url = 'yMax').value.first())"
