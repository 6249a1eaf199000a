<?php
// The container is healthy when nginx and php-fpm answer on port 80.
$answer = @file_get_contents('http://127.0.0.1/up', false, stream_context_create(['http' => ['timeout' => 2, 'ignore_errors' => true]]));
if ($answer === false) { fwrite(STDERR, "no answer on port 80\n"); exit(1); }
if (!str_contains($http_response_header[0], ' 200 ')) { fwrite(STDERR, "$http_response_header[0]\n"); exit(1); }
