#!/bin/bash
# First start: make the data directory, the database and its user. Then become mariadbd.
set -eu
install -d -o mysql -g mysql /run/mysqld /var/lib/mysql
chown mysql:mysql /var/lib/mysql
if [ ! -d /var/lib/mysql/mysql ]; then
    mariadb-install-db --user=mysql --datadir=/var/lib/mysql --skip-test-db >/dev/null
fi
# Every start applies the wanted user and password: the secret is the source of truth.
password=$(sed "s/'/''/g" /run/secrets/db_password)
cat > /run/mysqld/init.sql <<SQL
CREATE DATABASE IF NOT EXISTS \`$MARIADB_DATABASE\`;
CREATE USER IF NOT EXISTS '$MARIADB_USER'@'%';
ALTER USER '$MARIADB_USER'@'%' IDENTIFIED BY '$password';
GRANT ALL ON \`$MARIADB_DATABASE\`.* TO '$MARIADB_USER'@'%';
SQL
chown mysql:mysql /run/mysqld/init.sql
chmod 600 /run/mysqld/init.sql
exec mariadbd --user=mysql --bind-address=0.0.0.0 --skip-name-resolve --init-file=/run/mysqld/init.sql
