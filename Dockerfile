# The listener of pypx on port 10402, with all its commands and DCMTK.
#
#   docker build -t pypx .
#   docker run -d --name pypx -p 10402:10402 -v /data/dicom:/dicom pypx
#   docker run --rm pypx px-find --help
#
# docs/howto/container.md tells the rest. BASE may be any Debian or Ubuntu with a Python
# of 3.11 or newer, its venv and its pip.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# Docker hands on http_proxy and https_proxy of --build-arg by itself; other builders want
# them declared. They are of the build only, and in no layer of the image.
ARG http_proxy
ARG https_proxy
# Of the extras those that a listener and its users want; "report" adds pictures to
# --report, "transcode" decoders, of which one is under the GPL 3.
ARG EXTRAS=excel,metrics,webhook
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY tools/commands.py tools/hatch_build.py tools/make_man.py tools/
RUN python3 -m pip wheel --no-cache-dir --wheel-dir /wheels ".[${EXTRAS}]"
RUN python3 -m venv --without-pip /opt/pypx \
    && python3 -m pip --python /opt/pypx/bin/python install --no-cache-dir --no-index \
        --find-links /wheels "pypx[${EXTRAS}]"

FROM ${BASE}
ARG http_proxy
ARG https_proxy
ARG UID=1000
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends dcmtk \
    && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log
# A user that others may share: -o, since the base or UID=0 may have the number already.
RUN useradd --non-unique --uid "${UID}" --create-home --shell /bin/sh pypx \
    && install -d -o "${UID}" -g "$(id -g pypx)" /dicom
COPY --from=build /opt/pypx /opt/pypx
COPY docker/entrypoint.py /opt/pypx/bin/px-entrypoint

# One volume has all that lasts: the archive, the configuration, and what lies beside it.
# /dicom/data is where listeners of pypx have always put their files.
ENV PATH=/opt/pypx/bin:$PATH \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYPX_ARCHIVE=/dicom/data \
    PYPX_CONFIG=/dicom/config.toml
USER ${UID}
WORKDIR /dicom
VOLUME /dicom
EXPOSE 10402
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=60s --timeout=10s --start-period=30s --retries=3 \
    CMD ["px-echo", "-q", "--timeout", "5", "--aet", "HEALTHCHECK", "PYPX@127.0.0.1:10402"]
ENTRYPOINT ["px-entrypoint"]
CMD ["px-listen"]
