std = "luajit+ngx_lua"
max_line_length = 120
