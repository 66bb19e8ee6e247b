# The service of `docker compose up`: anthem serve with the shipped bundle.
FROM python:3.11-slim AS build
WORKDIR /source
COPY . .
RUN python -m venv /anthem \
    && /anthem/bin/pip install --no-cache-dir $([ -f constraints.txt ] && echo "--constraint constraints.txt") '.[serve]'

FROM python:3.11-slim
COPY --from=build /anthem /anthem
RUN useradd --create-home anthem
USER anthem
ENV PATH=/anthem/bin:$PATH
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["anthem"]
CMD ["serve", "--bundle", "general", "--host", "0.0.0.0"]
