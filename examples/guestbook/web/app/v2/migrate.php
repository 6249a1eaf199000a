<?php
// Expand only: the version before keeps working on the new schema, so rolling back is safe.
require __DIR__ . '/db.php';
$db = db();
$db->query('CREATE TABLE IF NOT EXISTS entries (
    id INT AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(80) NOT NULL,
    message VARCHAR(1000) NOT NULL,
    created TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)');
$db->query("ALTER TABLE entries ADD COLUMN IF NOT EXISTS mood VARCHAR(20) NOT NULL DEFAULT ''");
echo "migrated to v2\n";
