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
    $add = $db->prepare('INSERT INTO entries (name, message, mood) VALUES (?, ?, ?)');
    $add->execute([substr($_POST['name'] ?? 'anonymous', 0, 80), substr($_POST['message'] ?? '', 0, 1000), substr($_POST['mood'] ?? '', 0, 20)]);
    header('Location: /', true, 303);
    exit;
}
$entries = $db->query('SELECT name, message, mood, created FROM entries ORDER BY id DESC LIMIT 20')->fetch_all(MYSQLI_ASSOC);
?>
<!doctype html>
<meta charset="utf-8">
<title>guestbook</title>
<style>body { font: 1rem/1.5 system-ui; max-width: 42rem; margin: 2rem auto } h1 { color: #205080 }</style>
<h1><?= htmlspecialchars(getenv('GREETING')) ?></h1>
<form method="post"><input name="name" placeholder="name"> <input name="message" placeholder="message" size="40"> <input name="mood" placeholder="mood" size="8"> <button>Sign the guestbook</button></form>
<ul>
<?php foreach ($entries as $entry): ?>
  <li><b><?= htmlspecialchars($entry['name']) ?></b> <?= htmlspecialchars($entry['mood']) ?>: <?= htmlspecialchars($entry['message']) ?> <small><?= $entry['created'] ?></small></li>
<?php endforeach ?>
</ul>
<footer>version <?= getenv('APP_VERSION') ?></footer>
