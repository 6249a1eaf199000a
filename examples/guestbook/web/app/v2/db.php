<?php
// The database connection, configured by the environment and one secret.
function db(): mysqli
{
    mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
    $db = new mysqli(getenv('DB_HOST'), getenv('DB_USER'), trim(file_get_contents('/run/secrets/db_password')), getenv('DB_NAME'));
    $db->set_charset('utf8mb4');
    return $db;
}
