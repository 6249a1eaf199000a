<?php
require __DIR__ . '/db.php';
header('X-App-Version: ' . getenv('APP_VERSION'));
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if ($path === '/up') {
    db()->query('SELECT 1');
    exit("up\n");
}
if ($path !== '/') {
    http_response_code(404);
    exit("not found\n");
}
$db = db();
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $add = $db->prepare('INSERT INTO entries (name, message) VALUES (?, ?)');
    $add->execute([substr($_POST['name'] ?? 'anonymous', 0, 80), substr($_POST['message'] ?? '', 0, 1000)]);
    header('Location: /', true, 303);
    exit;
}
$entries = $db->query('SELECT name, message, created FROM entries ORDER BY id DESC LIMIT 20')->fetch_all(MYSQLI_ASSOC);
?>
<!doctype html>
<meta charset="utf-8">
<title>guestbook</title>
<h1><?= htmlspecialchars(getenv('GREETING')) ?></h1>
<form method="post"><input name="name" placeholder="name"> <input name="message" placeholder="message" size="40"> <button>Sign the guestbook</button></form>
<ul>
<?php foreach ($entries as $entry): ?>
  <li><b><?= htmlspecialchars($entry['name']) ?></b>: <?= htmlspecialchars($entry['message']) ?> <small><?= $entry['created'] ?></small></li>
<?php endforeach ?>
</ul>
<footer>version <?= getenv('APP_VERSION') ?></footer>
