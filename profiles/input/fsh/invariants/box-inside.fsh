Invariant: box-inside
Description: "The box lies in its frame: 0 <= xMin, xMax <= columns, 0 <= yMin, yMax <= rows."
Severity: #error
Expression: "extension.where(url = 'xMin').value.first() >= 0 and extension.where(url = 'yMin').value.first() >= 0 and extension.where(url = 'xMax').value.first() <= extension.where(url = 'columns').value.first() and extension.where(url = 'yMax').value.first() <= extension.where(url = 'rows').value.first()"
