import json
import requests
import base64
import os;
import sys;
import mimetypes;
import time;
sys.path.append(os.getcwd());
from config.config_testing import fileToProcess;
from config.config_testing import imageUploadApiUrl;
from config.config_testing import getApiTokenUrl;
from config.config_testing import jobResultApiUrl;
from config.config_testing import jobStatusApiUrl;
from config.config_testing import usernameForGetToken;
from config.config_testing import passForGetToken;
from config.config_testing import bulkImageLabel;
dataForToken = { 'username' : usernameForGetToken,
'password' : passForGetToken,
'apiRequestType': 'DIAB_RETINA'
};
r_token = requests.post(getApiTokenUrl, data=dataForToken)
dataForToken = r_token.json();
tokenForApi = '';
if (dataForToken["status"] != 200) :
    print(dataForToken["message"]);
    sys.exit(0);
else :
    tokenForApi = dataForToken["token"];
try :
    basenameOfFile = os.path.basename(fileToProcess);
    prepend_info = 'data:%s;base64' % mimetypes.guess_type(fileToProcess)[0];
    with open(fileToProcess, "rb") as image_file:
        imageData = base64.urlsafe_b64encode(image_file.read()).decode("utf-8")
        imageData = '%s,%s' % (prepend_info, imageData)
    dataForImgUpload = {
    'image' : imageData,
    'imageName' : basenameOfFile,
    'bulkImgLabel' : bulkImageLabel,
    'token' : tokenForApi,
    'imageLocPath' : fileToProcess
    }
    r_img = requests.post(imageUploadApiUrl, data=dataForImgUpload)
    dataFromImgUpload = r_img.json()
    print(dataFromImgUpload);
    if dataFromImgUpload['status'] == 200 :
        dataForStatusAndResult = {
        'jobid' : dataFromImgUpload['jobId'],
        'token' : tokenForApi
        }
        ## This controls the maximum execution time of the program in your local machine.
        ## Set to 30 mins
        maxAllowedTimeForExec = 30;
        totalTimeExecuted = 0;
        while True :
            try :
                r_status = requests.post(jobStatusApiUrl, data=dataForStatusAndResult)
                dataFromStatus = r_status.json();
                print(dataFromStatus);
                if dataFromStatus['status'] == 200 :
                    if (dataFromStatus['statusJob'] == 'COMPLETED' or dataFromStatus['statusJob'] == 'ERROR' or dataFromStatus['statusJob'] == 'HOLD' ) :
                        break;
                    ## Break on max allowed time
                    if totalTimeExecuted > (30 * 60) :
                        break;
                    ## Sleep for 90 seconds before sending another request
                    sleepTime = 90;
                    totalTimeExecuted = totalTimeExecuted + sleepTime;
                    print("Sleeping for ", sleepTime);
                    time.sleep(sleepTime);
                else :
                    print(dataFromStatus);
                    break;
            except requests.exceptions.ConnectionError :
                time.sleep(3);
                continue;
        if (dataFromStatus['statusJob'] == 'COMPLETED' or dataFromStatus['statusJob'] == 'ERROR' or dataFromStatus['statusJob'] == 'HOLD') :
            r_result = requests.post(jobResultApiUrl, data=dataForStatusAndResult)
            dataFromResult = r_result.json();
            print(dataFromResult);
    else :
        print("Image Upload Status : ", dataFromImgUpload['status'], dataFromImgUpload['message']);
except Exception as ex :
    print(ex);
