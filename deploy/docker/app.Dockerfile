# syntax=docker/dockerfile:1
# The sample application, in its demo settings: plain HTTP, the control room open.
FROM python:3.13-slim
ENV PYTHONUNBUFFERED=1 DJANGO_SETTINGS_MODULE=board.settings.demo BOARD_BIND=0.0.0.0:8000 BOARD_VAR=/var/lib/board
WORKDIR /app
COPY deploy/app/requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY deploy/app .
RUN useradd --uid 65532 board && install -d -o board "$BOARD_VAR"
USER board
EXPOSE 8000
CMD ["sh", "-c", "python manage.py migrate && python manage.py collectstatic --noinput && exec gunicorn board.wsgi:application"]
