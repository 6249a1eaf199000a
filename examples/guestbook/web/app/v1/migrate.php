<?php
// Runs once per release, before the first new instance starts.
require __DIR__ . '/db.php';
db()->query('CREATE TABLE IF NOT EXISTS entries (
    id INT AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(80) NOT NULL,
    message VARCHAR(1000) NOT NULL,
    created TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)');
echo "migrated to v1\n";
