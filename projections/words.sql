-- name: create
-- What an instance is found by. Lexemes as they are: no language, no stemming, and nothing that means more than itself.
CREATE TABLE IF NOT EXISTS {views}.words (
    id    text COLLATE "C" PRIMARY KEY,
    words tsvector NOT NULL
);
-- Few statistics take every rare word for a frequent one, and a page then reads all instances to find a handful.
ALTER TABLE {views}.words ALTER COLUMN words SET STATISTICS 1000;
CREATE INDEX IF NOT EXISTS words_index ON {views}.words USING gin (words)

-- name: insert
-- All rows of a batch at once. An instance is born once: the same id again must fail.
INSERT INTO {views}.words
SELECT born.id, array_to_tsvector(ARRAY(SELECT json_array_elements_text(born.words)))
FROM json_to_recordset(%(rows)s::json) AS born (id text, words json)
