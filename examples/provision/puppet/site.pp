# Runs in the container. Build arguments are facts.
exec { 'lists':
  command => '/usr/bin/apt-get update',
}
package { 'nginx-light':
  ensure          => installed,
  install_options => ['--no-install-recommends'],
  require         => Exec['lists'],
}
file { '/var/www/html/index.html':
  content => "${facts['greeting']} from a manifest for ${facts['os']['name']}\n",
  require => Package['nginx-light'],
}
# Runs here and ends with the step.
service { 'nginx':
  ensure  => running,
  require => File['/var/www/html/index.html'],
}
