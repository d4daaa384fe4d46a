-- name: position
-- Read before the rows, so that they are at least as new as the answer says.
SELECT position FROM {views}.positions WHERE projection = %(projection)s
