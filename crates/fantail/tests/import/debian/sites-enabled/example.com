map $http_upgrade $connection_upgrade { default upgrade; '' close; }

server {
    listen 80;
    listen [::]:80;
    server_name example.com www.example.com;
    return 301 https://example.com$request_uri;
}

server {
    listen 443 ssl http2;
    listen [::]:443 ssl http2;
    server_name example.com;
    ssl_certificate /etc/ssl/example.com.pem;
    ssl_certificate_key /etc/ssl/example.com.key;
    client_max_body_size 20m;
    root /var/www/example.com;

    location / { try_files $uri @app; }
    location @app { proxy_pass http://App_Servers; }
    location /api/ {
        proxy_pass http://App_Servers;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_set_header X-Request-Id $request_id;
        proxy_read_timeout 5m;
        proxy_buffering off;
        proxy_cache off;
    }
    location ~ \.php$ { include fastcgi.inc; fastcgi_pass unix:/run/php.sock; }
    location /publish {
        allow 127.0.0.1;
        allow 10.0.0.0/8;
        deny all;
        push_stream_publisher admin;
        push_stream_channels_path $arg_id;
        push_stream_store_messages on;
    }
    location ^~ /stream/ {
        push_stream_subscriber eventsource;
        push_stream_channels_path $arg_channels;
    }
}
