-- Serializes concurrent starts. The lock ends with the connection if this script fails.
SELECT GET_LOCK('poolscope quickstart', 10);

CREATE TABLE IF NOT EXISTS quickstart_users (
    id INTEGER AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(100) NOT NULL,
    email VARCHAR(200) NOT NULL UNIQUE
) CHARACTER SET utf8mb4;

CREATE TABLE IF NOT EXISTS quickstart_orders (
    id INTEGER AUTO_INCREMENT PRIMARY KEY,
    user_id INTEGER NOT NULL,
    item VARCHAR(100) NOT NULL,
    FOREIGN KEY (user_id) REFERENCES quickstart_users (id)
) CHARACTER SET utf8mb4;

INSERT INTO quickstart_users (name, email)
SELECT name, email FROM (
    SELECT 'Ada' AS name, 'ada@example.com' AS email
    UNION ALL SELECT 'Edgar', 'edgar@example.com'
    UNION ALL SELECT 'Grace', 'grace@example.com'
    UNION ALL SELECT 'Alan', 'alan@example.com'
    UNION ALL SELECT 'Annie', 'annie@example.com'
    UNION ALL SELECT 'Barbara', 'barbara@example.com'
    UNION ALL SELECT 'Donald', 'donald@example.com'
    UNION ALL SELECT 'Frances', 'frances@example.com'
    UNION ALL SELECT 'Jean', 'jean@example.com'
    UNION ALL SELECT 'John', 'john@example.com'
    UNION ALL SELECT 'Katherine', 'katherine@example.com'
    UNION ALL SELECT 'Radia', 'radia@example.com'
) AS seed
WHERE NOT EXISTS (SELECT 1 FROM quickstart_users);

INSERT INTO quickstart_orders (user_id, item)
SELECT quickstart_users.id, seed.item FROM quickstart_users CROSS JOIN (
    SELECT 'a keyboard' AS item UNION ALL SELECT 'a lamp'
) AS seed
WHERE NOT EXISTS (SELECT 1 FROM quickstart_orders);

SELECT RELEASE_LOCK('poolscope quickstart');
